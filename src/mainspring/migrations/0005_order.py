from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0004_limits')]

    operations = [
        migrations.AddField(model_name='finished', name='order_key', field=models.CharField(max_length=200, null=True)),
        migrations.AddField(model_name='job', name='order_key', field=models.CharField(max_length=200, null=True)),
        migrations.AddField(model_name='job', name='blocks', field=models.CharField(max_length=32, null=True)),
        migrations.AddField(model_name='job', name='turn', field=models.BigIntegerField(null=True)),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(
                condition=models.Q(('order_key__isnull', False)),
                fields=['order_key', 'turn'],
                name='mainspring_job_order',
            ),
        ),
    ]
